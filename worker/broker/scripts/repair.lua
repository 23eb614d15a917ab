-- Finds slots of an integration that damage has taken from the sweeper's sight, and lets it step in at once: one
-- in use without a lease, and a free one that still holds chunks.
-- Returns how many were found.

local function holds_chunks(slot)
  for _, lane in ipairs({ KEYS[3], KEYS[4] }) do
    local found = redis.call('XLEN', lane) > 0 and redis.pcall('XPENDING', lane, GROUP, '-', '+', 1, slot)
    if found and not found.err and #found > 0 then
      return true
    end
  end
  return false
end

local found = 0
for slot = 1, all_slots() do
  local key = ARGV[2] .. slot
  local state = redis.call('HGET', key, 'state')
  if not state and holds_chunks(slot) then
    redis.call('HSET', key, 'state', 'sending', 'chunks', 1)
    state = 'sending'
  end
  if state and not redis.call('ZSCORE', KEYS[1], member(slot)) then
    redis.call('ZADD', KEYS[1], now_ms(), member(slot))
    found = found + 1
  end
end
return found
