-- Reads which events of their own keys the entries of a lane refer to, a part of the lane at a time.
-- KEYS: 1 lane.  ARGV: 1 the id behind which to begin, 2 how many entries at the most, 3 how many bytes of fields
--       are enough.
-- Returns {where to go on, or '' at the end, ids of chunks, ids of the entries that refer to them}.
-- Entries are read one by one: of those that hold their events, a few are much for Lua.

local chunks, entries, cursor, count, bytes = {}, {}, ARGV[1], 0, 0
while count < tonumber(ARGV[2]) and bytes < tonumber(ARGV[3]) do
  local found = redis.pcall('XRANGE', KEYS[1], '(' .. cursor, '+', 'COUNT', 1)
  local entry = not found.err and found[1]
  if not entry then
    return {'', chunks, entries}
  end
  cursor, count = entry[1], count + 1
  bytes = bytes + string.len((entry[2] or {})[6] or '')
  local id = reference(entry)
  if id then
    chunks[#chunks + 1], entries[#entries + 1] = id, cursor
  end
end
return {cursor, chunks, entries}
