-- How many events wait in the ingress: an entry holds one, or several.

-- As worker/model/event_lines.py has it: what is beyond these limits becomes a single dead letter.
local MOST_LINES, MOST_LINES_BYTES = 1000, 1048576

local function lines(text)
  if #text > MOST_LINES_BYTES then
    return 1
  end
  local _, breaks = string.gsub(text, '\n', '\n')
  if string.byte(text, -1) ~= 10 then
    breaks = breaks + 1
  end
  return math.max(1, math.min(MOST_LINES, breaks))
end

local function events_in(fields)
  local found = {}
  for place = 1, #fields, 2 do
    found[fields[place]] = fields[place + 1]
  end
  if found.event then
    return 1
  elseif found.frame then
    -- As worker/broker/frames.py has it: two bytes behind the version and the checksum.
    local high, low = string.byte(found.frame, 6, 7)
    return math.max(1, low and high * 256 + low or 1)
  end
  return found.events and lines(found.events) or 1
end

-- Looks from one end on; returns entries, events, and the id of the last one.
local function look(stream, command, from, to, most, enough)
  local entries, events, bytes, last = 0, 0, 0, nil
  while entries < most and bytes < enough do
    local found = redis.pcall(command, stream, from, to, 'COUNT', 1)
    local entry = not found.err and found[1]
    if not entry then
      break
    end
    entries, events, last = entries + 1, events + events_in(entry[2]), entry[1]
    for _, field in ipairs(entry[2]) do
      bytes = bytes + #field
    end
    from = '(' .. last
  end
  return entries, events, last
end

-- Counts the events of a stream with so many entries. It looks into `most` entries at each end, as far as `enough`
-- bytes; those between count as one of these does on the average.
local function events_of(stream, waiting, most, enough)
  local seen, events, last = look(stream, 'XRANGE', '-', '+', math.min(waiting, most), enough)
  if seen < waiting and last then
    local more, further = look(stream, 'XREVRANGE', '+', '(' .. last, math.min(waiting - seen, most), enough)
    seen, events = seen + more, events + further
  end
  if seen < waiting then
    events = math.floor(events / math.max(1, seen) * waiting + 0.5)
  end
  return events
end

