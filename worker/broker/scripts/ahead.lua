-- Hands over entries of the ingress out of turn, if no reader of its group has been given one of them yet.
-- KEYS: 1 ingress, 2 lock of the one that reads ahead.
-- ARGV: 1 group, 2 who holds the lock, 3 the lowest id of these entries; then for each command how many words
--       it has, and these.
-- Returns {'not mine'}, {'late', the id that was given out last}, or {'done', the replies, errors among them}.

-- A full Redis must be relieved as well: this needs no memory, and lets the rest be written.
redis.call('DEL', 'siem:none')

if redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return {'not mine'}
end

local given = last_given(KEYS[1], ARGV[1])
if not given then
  return {'not mine'}
end
if not is_after(ARGV[3], given) then
  return {'late', given}
end

local replies, place = {}, 4
while place < #ARGV do
  local last = place + tonumber(ARGV[place])
  if ARGV[place + 1] == 'XADD' then
    make_way(ARGV[place + 2])
  end
  replies[#replies + 1] = redis.pcall(unpack(ARGV, place + 1, last))
  place = last + 1
end
return {'done', replies}
