-- Sets right how many entries refer to a chunk, and removes its events if none does.
-- ARGV: 1 the chunk's id, 2 the count that the look has read ('' for none); then lane and id of each entry that may still refer to it: all that there are.
-- Returns {'missing' (entries refer to it, and it is not there), 'removed', 'recounted' or 'right', how many refer}.

local id, referring = ARGV[1], 0
-- Needs no memory: after it a script may go on even if Redis is full.
redis.call('DEL', 'siem:none')

for place = 3, #ARGV, 2 do
  local found = redis.pcall('XRANGE', ARGV[place], ARGV[place + 1], ARGV[place + 1])
  if not found.err and found[1] and reference(found[1]) == id then
    referring = referring + 1
  end
end

local is_there = redis.call('TYPE', PAYLOAD .. id).ok == 'string'
local counted = redis.call('HGET', COUNTS, id)
if referring == 0 then
  -- Handed over since, or settled: the next look sees what there is.
  if (counted or '') ~= ARGV[2] then
    return {'right', 0}
  end
  redis.call('HDEL', COUNTS, id)
  redis.call('UNLINK', PAYLOAD .. id)
  return {(is_there or counted) and 'removed' or 'right', 0}
end
if counted ~= tostring(referring) then
  redis.call('HSET', COUNTS, id, referring)
end
if not is_there then
  return {'missing', referring}
end
return {counted == tostring(referring) and 'right' or 'recounted', referring}
