-- Puts a work order into a queue of Celery's, from whose right end workers take. It passes those that stand
-- there for slow destinations, and stays behind all others.
-- KEYS: the queue.  ARGV: 1 the message, 2 how many messages it may pass, 3 for how long one may be passed, in ms.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function may_be_passed(message)
  if not string.find(message, '"siem_slow": ?true') then
    return false
  end
  local issued = tonumber(string.match(message, '"siem_issued_ms": ?(%d+)'))
  return issued ~= nil and math.abs(now - issued) < tonumber(ARGV[3])
end

local before
for _, message in ipairs(redis.call('LRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1)) do
  if not may_be_passed(message) then
    break
  end
  before = message
end
if before then
  redis.call('LINSERT', KEYS[1], 'AFTER', before, ARGV[1])
else
  redis.call('LPUSH', KEYS[1], ARGV[1])
end
