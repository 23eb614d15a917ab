-- Stands behind taker.lua in the script that wakes. As a rule a worker is at it already, and this is all that is done.

local function is_unneeded()
  return has_taker(unpack(redis.call('HMGET', KEYS[2], 'breaker', 'ordered_at', 'claimed_at', 'last_send_ms',
    'unclaimed_events', 'batch_events'), 1, 6))
end

if is_unneeded() then
  return false
end

