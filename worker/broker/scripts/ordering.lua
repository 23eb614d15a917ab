-- How slots are given back and leased; it stands behind slots.lua and breaker.lua.

local function free(slot)
  redis.call('HDEL', ARGV[2] .. slot, 'state', 'since', 'chunks', 'carried', 'attempts', 'losses', 'due',
    'reissues', 'suspects', 'alone', 'holder', 'stretched', 'doubtful', 'shared')
  redis.call('ZREM', KEYS[1], member(slot))
  if is_probe(slot) then
    redis.call('HDEL', KEYS[2], 'probe')
  end
end

-- Whether the last batch took so long that orders of others should pass this one's; 1 or 0.
local SLOW_MS = 1000

local function is_slow(last_send_ms)
  return number(last_send_ms, 0) >= SLOW_MS and 1 or 0
end

-- While the breaker is open, one batch at a time may try whether the destination has recovered, when that
-- is due: one that is claimed already comes first, for it has waited longest. Returns what order_free_slot does.
local function order_probe(lease_ms, slow)
  local found = redis.call('HMGET', KEYS[2], 'probe', 'probe_at')
  if found[1] or now_ms() < number(found[2], 0) then
    return false
  end
  local chosen
  for slot = all_slots(), 1, -1 do
    local state = redis.call('HGET', ARGV[2] .. slot, 'state')
    if state == 'waiting' then
      redis.call('HSET', KEYS[2], 'probe', slot)
      redis.call('HSET', ARGV[2] .. slot, 'state', 'ordered')
      redis.call('HDEL', ARGV[2] .. slot, 'due')
      redis.call('ZADD', KEYS[1], now_ms() + lease_ms, member(slot))
      return {slot, epoch_of(ARGV[2] .. slot), slow}
    elseif not state then
      chosen = slot
    end
  end
  if not chosen or not work_waits() then
    return false
  end
  redis.call('HSET', KEYS[2], 'probe', chosen)
  return {chosen, order(chosen, lease_ms), slow}
end

-- So many events a worker that is there takes, even if others may come for them: to have it end its task, and another one
-- ordered soon after, costs more than two batches where there might be one.
local WORTH_A_BATCH = 100

-- Leases a free slot for work that waits: {slot, epoch, whether it is slow}, or false; and what it has found.
-- `is_here`: a worker takes it at once, no order goes through Celery.
local function order_free_slot(lease_ms, is_here)
  local found = redis.call('HMGET', KEYS[2], 'held', 'breaker', 'rests_until', 'ordered_at', 'claimed_at',
    'last_send_ms', 'unclaimed_events', 'batch_events')
  if found[1] == '1' then
    return false, found
  end
  local slow = is_slow(found[6])
  if found[2] == 'open' then
    return order_probe(lease_ms, slow), found
  end
  local others_come = on_its_way(found[4]) or taken_soon(found[5], found[6], found[7], found[8])
  local is_worth_it = is_here and number(found[7], 0) >= WORTH_A_BATCH
  if rests(found[3]) or (others_come and not is_worth_it) or not work_waits() then
    return false, found
  end
  for slot = 1, slots_allowed() do
    if redis.call('HEXISTS', ARGV[2] .. slot, 'state') == 0 then
      return {slot, order(slot, lease_ms), slow}, found
    end
  end
  return false, found
end

-- The id behind which a lane has what comes, if all that it has is claimed; else false.
local function behind_claimed(lane)
  local length = redis.call('XLEN', lane)
  if length == 0 then
    return '0-0'
  end
  return length <= pending_in(lane) and last_delivered(lane)
end

-- Leases a slot that was just freed for the worker that freed it, which will look again within half a second, or as
-- soon as something comes. To all others it is an order on its way, so that they issue none. Only where nothing waits that
-- no slot has claimed: the worker waits for what comes behind that. Not with a destination that takes its time: while it
-- waits there, it could serve others. Should the worker end, the sweeper sees to the slot soon.
-- Takes what order_free_slot has found.  Returns {slot, epoch, 0, 1, ids to read both lanes behind}, or false.
local STAY_SOON_MS = 200

local function order_to_stay(slot, found)
  if found[1] == '1' or found[2] == 'open' or rests(found[3]) or on_its_way(found[4])
    or number(found[6], 0) >= STAY_SOON_MS or slot > slots_allowed() then
    return false
  end
  local urgent, bulk = behind_claimed(KEYS[3]), behind_claimed(KEYS[4])
  if not urgent or not bulk then
    return false
  end
  return {slot, order(slot, STAY_LEASE_MS), 0, 1, urgent, bulk}
end
