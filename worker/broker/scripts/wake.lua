-- Leases a free slot of an integration whose backlog waits, so that a work order can be published.
-- ARGV: 3 the order's lease in ms.  Returns {slot, epoch, whether it is slow}, or nothing.
return order_free_slot(tonumber(ARGV[3]))
