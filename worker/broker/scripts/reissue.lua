-- Finds slots whose lease ran out and leases them again, so that their work order can be issued again.
-- KEYS: 1 leases.  ARGV: 1 prefix of all slots, 2 an order's lease in ms, 3 how many at most, 4 prefix of states.
-- Returns {integration, slot, epoch, state that it was in} for each.
--
-- Only a slot that was sending gets a new epoch: an order that merely waited long, or a retry that is
-- late, stays good, so that a slow queue can never outrun its own orders.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease_ms = tonumber(ARGV[2])
-- So soon after a pause ends, or the breaker closes, a retry that had to wait goes on.
local LOOK_AGAIN_MS = 3000
local reissued = {}
-- Needs no memory: after it a script may go on even if Redis is full, which it stays unless orders go out.
redis.call('ZREM', KEYS[1], '')

-- A batch that is lost with its worker for the third time is under suspicion: from then on it is sent in
-- parts, ever smaller ones, until the single event that ends workers is known.
local SUSPICIOUS = 3
local LARGEST_PART, SHRINKS_BY = 64, 8

-- Adds to a count; one that damage made no number begins again, at what an epoch has never been.
local function add(key, field, otherwise)
  local reply = redis.pcall('HINCRBY', key, field, 1)
  if type(reply) ~= 'table' then
    return reply
  end
  redis.call('HSET', key, field, otherwise)
  return otherwise
end

local function suspect(key)
  local part = tonumber(redis.call('HGET', key, 'suspects') or 0) or 0
  if add(key, 'losses', 1) < SUSPICIOUS and part == 0 then
    return
  end
  part = part > 0 and part or LARGEST_PART * SHRINKS_BY
  if part == 1 then
    add(key, 'alone', 1)
  end
  redis.call('HSET', key, 'suspects', math.max(1, math.floor(part / SHRINKS_BY)))
end

-- While the breaker is open, a batch that waits may be the one that tries the destination, when that is due:
-- one in a slot above a limit that was lowered meanwhile is looked for nowhere else.
local function becomes_probe(hash, probe, probe_at, slot)
  if probe or now < (tonumber(probe_at or 0) or 0) then
    return false
  end
  redis.call('HSET', hash, 'probe', slot)
  return true
end

-- A retry has to wait while nothing may be sent: an order for it would be turned away.
local function waits_in_vain(state, integration, slot)
  if state ~= 'waiting' then
    return false
  end
  local hash = ARGV[4] .. integration
  local found = redis.call('HMGET', hash, 'held', 'breaker', 'probe', 'probe_at')
  if found[1] == '1' or found[2] ~= 'open' or found[3] == slot then
    return found[1] == '1'
  end
  return not becomes_probe(hash, found[3], found[4], slot)
end

for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[3])) do
  local integration, slot = string.match(name, '^(.*)/(%d+)$')
  local key = ARGV[1] .. (integration or '') .. ':' .. (slot or '')
  local state = integration and redis.call('HGET', key, 'state')
  if not state then
    redis.call('ZREM', KEYS[1], name)
  elseif waits_in_vain(state, integration, slot) then
    redis.call('ZADD', KEYS[1], now + math.min(lease_ms, LOOK_AGAIN_MS), name)
  else
    if state == 'sending' then
      suspect(key)
      add(key, 'epoch', now)
    end
    local times = add(key, 'reissues', 1)
    redis.call('HSET', key, 'state', 'ordered')
    redis.call('HDEL', key, 'due')
    redis.call('ZADD', KEYS[1], now + lease_ms * 2 ^ math.min(times - 1, 5), name)
    local epoch = tonumber(redis.call('HGET', key, 'epoch') or '') or add(key, 'epoch', now)
    reissued[#reissued + 1] = {integration, slot, epoch, state}
  end
end
return reissued
