-- Reads which chunks the frames of a stream refer to (`worker.broker.framed_chunks`), a part of it at a time.
-- KEYS: 1 stream.  ARGV: 1 the id behind which to begin, 2 how many entries at the most, 3 how many bytes of fields
--       are enough.
-- Returns {where to go on, or '' at the end, ids of chunks}.

local ID_LENGTH, LARGEST = 33, 16384

local function chunk_of(fields)
  for place = 1, #fields, 2 do
    local value = fields[place + 1]
    if fields[place] == 'frame' and #value <= LARGEST then
      return string.match(string.sub(value, 0 - ID_LENGTH), '^p%x+$')
    end
  end
end

local chunks, cursor, count, bytes = {}, ARGV[1], 0, 0
while count < tonumber(ARGV[2]) and bytes < tonumber(ARGV[3]) do
  local found = redis.pcall('XRANGE', KEYS[1], '(' .. cursor, '+', 'COUNT', 1)
  local entry = not found.err and found[1]
  if not entry then
    return {'', chunks}
  end
  cursor, count = entry[1], count + 1
  for _, field in ipairs(entry[2]) do
    bytes = bytes + #field
  end
  chunks[#chunks + 1] = chunk_of(entry[2])
end
return {cursor, chunks}
