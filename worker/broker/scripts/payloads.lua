-- Chunks whose events stand under a key of their own, once for all integrations that want them
-- (`worker.broker.shared_chunks`). An entry of a lane that refers to one has `shared` and its id in the places of
-- `events` and the packed events. This stands before what reads or deletes entries of lanes.

local COUNTS, PAYLOAD = 'siem:chunks', 'siem:chunk:'

-- The id of the payload that an entry refers to, or nil.
local function reference(entry)
  local fields = entry and entry[2] or {}
  return fields[5] == 'shared' and fields[6] or nil
end

-- The packed events of an entry; nil if it refers to some that are not there.
local function packed_events(entry)
  local id = reference(entry)
  if not id then
    return (entry[2] or {})[6] or ''
  end
  local found = redis.pcall('GET', PAYLOAD .. id)
  return type(found) == 'string' and found or nil
end

-- How many bytes these are; 0 if they are not there.
local function packed_length(entry)
  local id = reference(entry)
  if not id then
    return string.len((entry[2] or {})[6] or '')
  end
  local found = redis.pcall('STRLEN', PAYLOAD .. id)
  return type(found) == 'number' and found or 0
end

-- Puts the events into entries that refer to them, unless they are many: who asks reads these without a script,
-- which would copy them. Where they are not there, the reference stays, and says so.
-- Returns how many referred to some.
local LARGE = 65536

local function resolve(entries)
  local shared = 0
  for _, entry in ipairs(entries) do
    if reference(entry) then
      shared = shared + 1
      local packed = packed_length(entry) < LARGE and packed_events(entry)
      if packed then
        entry[2][5], entry[2][6] = 'events', packed
      end
    end
  end
  return shared
end

-- Deletes an entry of a lane, and with the last one that refers to them its events. What a count of damage says
-- deletes none: the sweep finds them (`worker.broker.shared_chunks`).
local function delete(lane, entry)
  local id = reference(entry)
  if redis.call('XDEL', lane, entry[1]) == 0 or not id then
    return
  end
  local left = redis.pcall('HINCRBY', COUNTS, id, -1)
  if type(left) ~= 'number' then
    return
  end
  if left <= 0 then
    redis.call('HDEL', COUNTS, id)
  end
  if left == 0 then
    redis.call('UNLINK', PAYLOAD .. id)
  end
end

local function delete_by_id(lane, entry_id)
  local entry = redis.call('XRANGE', lane, entry_id, entry_id)[1]
  if entry then
    delete(lane, entry)
  end
end
