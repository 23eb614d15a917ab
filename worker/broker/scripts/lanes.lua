-- What the scripts know of the lanes of a backlog; it stands behind timing.lua and payloads.lua.

local GROUP = 'delivery'

-- How many events a chunk has, and how many bytes they are; what damage leaves of an entry has one event.
local MOST_EVENTS, MOST_BYTES = 10000, 64 * 1024 * 1024

local function size(entry)
  local fields = entry[2] or {}
  local events = math.floor(number(fields[2], 1))
  if events < 1 or events > MOST_EVENTS then
    events = 1
  end
  local bytes = math.floor(number(fields[4], -1))
  -- Where events stand elsewhere, to ask how many they are costs more than to believe what is likely.
  local most = reference(entry) and bytes >= 0 and MOST_BYTES or packed_length(entry)
  if bytes < 0 or bytes > most then
    bytes = packed_length(entry)
  end
  return events, bytes
end
