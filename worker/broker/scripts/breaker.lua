-- The circuit breaker of an integration, and how many slots it may have; what the scripts share of it.
-- It stands behind slots.lua. Fields of the state hash:
--   failures   sendings in a row of which nothing came through
--   breaker    'open', or absent while it is closed;  opened_at (ms)
--   opened_by  the code of the finding that opened it, or of the latest probe that failed
--   probe_at   when the next batch may try whether the destination has recovered (ms)
--   probe_wait the interval until then (ms);  probe: the slot whose batch is trying
--   closed_at  when it closed the last time (ms)
--   window     how many slots it may have at present, at most `slots`; a fraction is kept, not used

local function is_open()
  return redis.call('HGET', KEYS[2], 'breaker') == 'open'
end

local function is_probe(slot)
  return redis.call('HGET', KEYS[2], 'probe') == tostring(slot)
end

-- More than a setting may be.
local MOST_SLOTS = 1000

local function slots_allowed()
  local found = redis.call('HMGET', KEYS[2], 'slots', 'window')
  return math.max(1, math.min(number(found[1], 4), MOST_SLOTS, math.floor(number(found[2], 1))))
end

local function all_slots()
  return math.min(number(redis.call('HGET', KEYS[2], 'slots'), 4), MOST_SLOTS)
end

-- Batches that wait for a retry go at once: the destination has recovered.
local function release_waiting()
  local now = now_ms()
  for slot = 1, all_slots() do
    if redis.call('HGET', ARGV[2] .. slot, 'state') == 'waiting' then
      redis.call('HSET', ARGV[2] .. slot, 'due', now)
      redis.call('ZADD', KEYS[1], now, member(slot))
    end
  end
end

-- Sets when the next probe is due: after the interval, but not before the destination wants to be asked.
local function set_probe(wait, intervals)
  local in_ms = math.max(wait * intervals.jitter, intervals.asked)
  redis.call('HSET', KEYS[2], 'probe_wait', wait, 'probe_at', math.floor(now_ms() + in_ms))
end

local function open_breaker(cause, intervals)
  redis.call('HSET', KEYS[2], 'breaker', 'open', 'opened_at', now_ms(), 'opened_by', cause)
  set_probe(intervals.first, intervals)
end

local function close_breaker()
  redis.call('HDEL', KEYS[2], 'breaker', 'opened_at', 'opened_by', 'probe_at', 'probe_wait', 'probe')
  redis.call('HSET', KEYS[2], 'closed_at', now_ms())
  release_waiting()
end

-- Returns whether it failed for another reason than the one that was known.
local function probe_failed(cause, intervals)
  local found = redis.call('HMGET', KEYS[2], 'probe_wait', 'opened_by')
  redis.call('HDEL', KEYS[2], 'probe')
  redis.call('HSET', KEYS[2], 'opened_by', cause)
  set_probe(math.min(intervals.longest, 2 * number(found[1], intervals.first)), intervals)
  return found[2] ~= cause
end

-- Another slot helps only where the slots that there may be are all taken, by sendings that take their time.
-- Who is quick stays with one, so that it holds no more than one thread should it begin to hang.
local function wants_more(window, last_send_ms)
  if number(last_send_ms, 0) < SOON_MS then
    return false
  end
  local taken = 0
  for slot = 1, all_slots() do
    taken = taken + redis.call('HEXISTS', ARGV[2] .. slot, 'state')
  end
  return taken >= math.floor(window)
end

local function note_well(window, last_send_ms, failures, breaker)
  if wants_more(window, last_send_ms) then
    redis.call('HSET', KEYS[2], 'window', math.min(all_slots(), window + 1))
  end
  if failures then
    redis.call('HDEL', KEYS[2], 'failures')
  end
  if breaker == 'open' then
    close_breaker()
    return 'closed'
  end
  return ''
end

-- While more waits, it opens before the batch in hand has used up its retries: that is an outage, not one
-- unlucky batch, and no batch should have to die to prove it.
local EARLY = 3

local function is_enough(failures, threshold)
  return failures >= threshold or (failures >= EARLY and work_waits())
end

local function note_ill(slot, window, health, cause, intervals)
  redis.call('HSET', KEYS[2], 'window', math.max(1, window / 2))
  local failures = add('failures', 1)
  if is_open() then
    if is_probe(slot) and probe_failed(cause, intervals) then
      return 'another reason'
    end
  elseif health == 'misconfigured' or is_enough(failures, intervals.threshold) then
    open_breaker(cause, intervals)
    return 'opened'
  end
  return ''
end

-- What a sending says of the destination: 'well', 'failed' or 'misconfigured'; anything else says nothing.
-- Returns 'opened' or 'closed' when the breaker changed, 'another reason' when it stays open for one that is
-- not the one that was known, else ''.
local function note(slot, health, cause, intervals)
  local found = redis.call('HMGET', KEYS[2], 'window', 'last_send_ms', 'failures', 'breaker')
  local window = number(found[1], 1)
  if health == 'well' then
    return note_well(window, found[2], found[3], found[4])
  elseif health == 'failed' or health == 'misconfigured' then
    return note_ill(slot, window, health, cause, intervals)
  end
  return ''
end
