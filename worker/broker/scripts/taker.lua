-- Stands behind timing.lua: whether a worker will soon come for what waits, going by these fields of the state.
local function has_taker(breaker, ordered_at, claimed_at, last_send_ms, unclaimed_events, batch_events)
  return breaker ~= 'open' and (on_its_way(ordered_at)
    or taken_soon(claimed_at, last_send_ms, unclaimed_events, batch_events))
end

