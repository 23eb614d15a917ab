-- Does the commands of a small hand-over, all of them at once.
-- ARGV: for each command how many words it has, and these.
-- Returns their replies, errors among them, and which keys were moved away; nothing, and has done nothing else, if the
-- first is refused: no later one is refused for what is wrong with Redis as a whole, such as that it is full.

local replies, moved, place = {}, {}, 1
while place < #ARGV do
  local last = place + tonumber(ARGV[place])
  if ARGV[place + 1] == 'XADD' and make_way(ARGV[place + 2], true) then
    moved[#moved + 1] = ARGV[place + 2]
  end
  local reply = redis.pcall(unpack(ARGV, place + 1, last))
  if place == 1 and type(reply) == 'table' and reply.err then
    return false
  end
  replies[#replies + 1] = reply
  place = last + 1
end
return {replies, moved}
