-- Stands behind timing.lua in the script that wakes. As a rule a worker is at it already, and this is all that is done.

local function is_unneeded()
  local found = redis.call('HMGET', KEYS[2], 'breaker', 'ordered_at', 'claimed_at', 'last_send_ms',
    'unclaimed_events', 'batch_events')
  return found[1] ~= 'open' and (on_its_way(found[2])
    or taken_soon(found[3], found[4], found[5], found[6]))
end

if is_unneeded() then
  return false
end

