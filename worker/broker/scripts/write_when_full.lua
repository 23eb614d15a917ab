-- Does commands, all of them at once; what stands before it lets it do so in a full Redis.
-- ARGV: for each command how many words it has, and these.  Returns their replies, errors among them.

local replies, place = {}, 1
while place < #ARGV do
  local last = place + tonumber(ARGV[place])
  if ARGV[place + 1] == 'XADD' then
    make_way(ARGV[place + 2])
  end
  replies[#replies + 1] = redis.pcall(unpack(ARGV, place + 1, last))
  place = last + 1
end
return replies
