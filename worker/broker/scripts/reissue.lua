-- Finds slots whose lease ran out and leases them again, so that their work order can be issued again.
-- KEYS: 1 leases, 2 when the last sweep was (ms).
-- ARGV: 1 prefix of all slots, 2 an order's lease in ms, 3 how many at most, 4 prefix of states, 5 a batch's
--       lease in ms, 6 how far sweeps may be apart in ms; then of each holder that was judged: its field, and
--       whether its batches count as lost with it (1 or 0).
-- Returns two lists: {integration, slot, epoch, state that it was in, holder or ''} of each slot that was
-- leased again, and the holders that are to be judged before theirs can be.
--
-- Only a slot that was sending gets a new epoch: an order that merely waited long, or a retry that is
-- late, stays good, so that a slow queue can never outrun its own orders.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local order_lease_ms, most, lease_ms = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
-- So soon after a pause ends, or the breaker closes, a retry that had to wait goes on.
local LOOK_AGAIN_MS = 3000
-- Needs no memory: after it a script may go on even if Redis is full, which it stays unless orders go out.
redis.call('ZREM', KEYS[1], '')

local counts = {}
for place = 7, #ARGV, 2 do
  counts[ARGV[place]] = ARGV[place + 1] == '1'
end

-- A batch that is lost with its worker for the third time is under suspicion: from then on it is sent in
-- parts, ever smaller ones, until the single event that ends workers is known.
local SUSPICIOUS = 3
local LARGEST_PART, SHRINKS_BY = 64, 8

local function key_of(name)
  local integration, slot = string.match(name, '^(.*)/(%d+)$')
  return integration, slot, ARGV[1] .. (integration or '') .. ':' .. (slot or '')
end

-- No sweeper swept for longer than they should: Redis, the sweepers or the whole host were suspended or away, or
-- the clock leapt. That time is not charged to who sends: leases go on as they stood at the last sweep. Not
-- without end, so that sweeps that are slow for good cannot hold up a batch for ever.
local MOST_STRETCHES = 8

local function stretch(leap_ms)
  local leases = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
  for place = 1, #leases, 2 do
    local _, _, key = key_of(leases[place])
    local found = redis.pcall('HMGET', key, 'state', 'stretched')
    local times = not found.err and (tonumber(found[2] or 0) or 0)
    if times and found[1] == 'sending' and times < MOST_STRETCHES then
      redis.call('HSET', key, 'stretched', times + 1)
      redis.call('ZADD', KEYS[1], math.min(leases[place + 1] + leap_ms, now + lease_ms), leases[place])
    end
  end
end

local found = redis.pcall('GET', KEYS[2])
local swept = type(found) == 'string' and tonumber(found)
redis.call('SET', KEYS[2], now)
if swept and (now < swept or now - swept > tonumber(ARGV[6])) then
  stretch(now - swept)
end

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

-- Who sends the slot's batch; '' where an earlier release claimed it, which leaves another claim's field.
local function holder_of(key)
  local found = redis.call('HMGET', key, 'since', 'holder')
  local since = found[2] and string.match(found[2], '^(%d+) ')
  return since and since == found[1] and found[2] or ''
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
local function must_wait(state, integration, slot)
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

local reissued, unknown, is_unknown = {}, {}, {}

-- Whether the slot's batch may be taken from its holder now: only once that one was judged.
local function may_take(key, holder)
  if holder == '' or counts[holder] ~= nil then
    return true
  end
  if not is_unknown[holder] then
    is_unknown[holder] = true
    unknown[#unknown + 1] = holder
  end
  return false
end

for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, most)) do
  local integration, slot, key = key_of(name)
  local state = integration and redis.call('HGET', key, 'state')
  local holder = state == 'sending' and holder_of(key) or ''
  if not state then
    redis.call('ZREM', KEYS[1], name)
  elseif must_wait(state, integration, slot) then
    redis.call('ZADD', KEYS[1], now + math.min(order_lease_ms, LOOK_AGAIN_MS), name)
  elseif may_take(key, holder) then
    if state == 'sending' then
      if counts[holder] == false then
        add(key, 'doubtful', 1)
      else
        suspect(key)
      end
      add(key, 'epoch', now)
    end
    local times = add(key, 'reissues', 1)
    redis.call('HSET', key, 'state', 'ordered')
    redis.call('HDEL', key, 'due')
    redis.call('ZADD', KEYS[1], now + order_lease_ms * 2 ^ math.min(times - 1, 5), name)
    local epoch = tonumber(redis.call('HGET', key, 'epoch') or '') or add(key, 'epoch', now)
    reissued[#reissued + 1] = {integration, slot, epoch, state, holder}
  end
end
return {reissued, unknown}
