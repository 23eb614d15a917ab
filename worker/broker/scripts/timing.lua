-- What the scripts that work on one backlog know of time and of numbers; it stands before all else of them.
-- KEYS: 2 state.

-- When this script began, in ms.
local began_ms

local function now_ms()
  if not began_ms then
    local time = redis.call('TIME')
    began_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return began_ms
end

-- A number; where damaged data holds none, or one beyond all reason, another.
local function number(value, otherwise)
  local found = tonumber(value or otherwise)
  if not found or found ~= found or math.abs(found) > 2 ^ 53 then
    return otherwise
  end
  return found
end

-- The destination has asked to be spared for a while: the sweeper wakes it when that is over.
local function rests(until_ms)
  return until_ms and number(until_ms, 0) > now_ms()
end

-- A slot that began to send this short a time ago will soon come back for what waits: a further slot
-- beside it would only make more and smaller batches, and cost the workers as much again. Unless the last
-- batch showed that this destination takes its time, and there is a batch to fill. A batch counts from its
-- claim: beside three others, in a worker that has no processor to itself, one of 500 events takes 25 ms with a
-- destination that answers at once. By one slot 10 000 events a second go to one that takes 50 ms.
local SOON_MS = 50

local function taken_soon(claimed_at, last_send_ms, unclaimed_events, batch_events)
  if not claimed_at or math.abs(now_ms() - number(claimed_at, 0)) >= SOON_MS then
    return false
  end
  return number(last_send_ms, 0) < SOON_MS or number(unclaimed_events, 0) < number(batch_events, 500)
end

-- An order on its way will claim all that waits, up to a batch, and order a further slot for the rest.
-- A second one beside it would only make both batches smaller. One that has not arrived within this
-- time may be lost, and holds nothing up.
local ON_ITS_WAY_MS = 1000
-- For so long a slot is leased to a worker that stays: see ordering.lua.
local STAY_LEASE_MS = 2 * ON_ITS_WAY_MS

local function on_its_way(since)
  return since and math.abs(now_ms() - number(since, 0)) < ON_ITS_WAY_MS
end
