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
local first, many, most = 0, 1, tonumber(ARGV[2])
-- Ever more at once: as a rule the first one is not to be passed, and a queue may be long.
while first < most do
  local found = redis.call('LRANGE', KEYS[1], first, math.min(first + many, most) - 1)
  for _, message in ipairs(found) do
    if not may_be_passed(message) then
      most = 0
      break
    end
    before = message
  end
  if #found < many then
    break
  end
  first, many = first + many, many * 2
end
if before then
  redis.call('LINSERT', KEYS[1], 'AFTER', before, ARGV[1])
else
  redis.call('LPUSH', KEYS[1], ARGV[1])
end
