-- Decide all limits of a request together, all or nothing, on this server's clock.
--
-- KEYS     one sorted set for each limit
-- ARGV[1]  four little-endian doubles for each key: amount, window and bucket width in microseconds, cost
-- ARGV[2]  the time in microseconds, in tests only
-- Returns  doubles: place of the limit that refused (0: none), wait, now; for each limit: remaining, reset, stamp
--
-- Exact form (width 0): a member, and its score, is the microsecond of one unit.
-- Bucketed form: a member is a bucket's number, its score the running total at that bucket's end, so every sum is
-- one subtraction. The member "0" carries the running total of what has left the window.
local call, unpack_struct, pack_struct, format, floor = redis.call, struct.unpack, struct.pack, string.format, math.floor
local keys, spec = KEYS, ARGV[1]
local now = ARGV[2]
if now then
  now = now + 0
else
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local now_text = format('%.0f', now)
local count_of = #keys
local refused, wait = 0, 0
local counts, firsts, totals, newest = {}, {}, {}, {}
local amounts, windows, widths, costs = {}, {}, {}, {}
local at = 1

for i = 1, count_of do
  local key = keys[i]
  local amount, window, width, cost
  amount, window, width, cost, at = unpack_struct('<dddd', spec, at)
  amounts[i], windows[i], widths[i], costs[i] = amount, window, width, cost
  local horizon = now - window
  local count, first, longest = 0, false, 0
  if width == 0 then
    first = call('ZRANGE', key, '0', '0')[1]
    if first then
      first = first + 0
      count = call('ZCARD', key)
      if first <= horizon then
        count = count - call('ZREMRANGEBYSCORE', key, '-inf', format('%.0f', horizon))
        first = count > 0 and call('ZRANGE', key, '0', '0')[1] + 0
        if first then call('PEXPIRE', key, format('%.0f', window / 500)) end
      end
    end
    if count + cost > amount then
      if cost > amount then
        longest = window
      else
        local rank = format('%.0f', count + cost - amount - 1)
        longest = (rank == '0' and first or call('ZRANGE', key, rank, rank)[1]) + window - now
      end
    end
  else
    local tail = call('ZRANGE', key, '-1', '-1', 'WITHSCORES')
    local last = tail[1]
    if last then
      last = last + 0
      local last_gone = floor(horizon / width) - 1
      if last <= last_gone then
        call('UNLINK', key)
        last = false
      else
        local total, base, place = tail[2] + 0, 0, 1
        local head = call('ZRANGE', key, '0', '1', 'WITHSCORES')
        if head[1] == '0' then
          base, place = head[2] + 0, 3
        end
        first = head[place] + 0
        if first <= last_gone then
          -- A bucket has left: find the first that has not, and keep the total before it as the base.
          local rank, gone = (place - 1) / 2, 0
          repeat
            local from = rank + gone
            local chunk = call('ZRANGE', key, format('%d', from), format('%d', from + 7), 'WITHSCORES')
            for j = 1, #chunk, 2 do
              first = chunk[j] + 0
              if first > last_gone then break end
              base, gone = chunk[j + 1] + 0, gone + 1
            end
          until first > last_gone
          call('ZREMRANGEBYRANK', key, '0', format('%d', rank + gone - 1))
          call('ZADD', key, format('%.0f', base), '0')
          call('PEXPIRE', key, format('%.0f', window / 500))
        end
        count, totals[i] = total - base, total
        first = (first + 1) * width
        newest[i] = tail[1]
      end
    end
    if count + cost > amount then
      if cost > amount then
        longest = window
      else
        local least = format('%.0f', totals[i] + cost - amount)
        longest = (call('ZRANGE', key, least, '+inf', 'BYSCORE', 'LIMIT', '0', '1')[1] + 1) * width + window - now
      end
    end
  end
  counts[i], firsts[i] = count, first
  if longest > wait then refused, wait = i, longest end
end

local answer = {refused, wait, now}
local place = 3
for i = 1, count_of do
  local count, first, cost, stamp = counts[i], firsts[i], costs[i], 0
  if refused == 0 and cost > 0 then
    local key, width = keys[i], widths[i]
    if width == 0 then
      stamp = now
      if cost > 1 or call('ZADD', key, 'NX', now_text, now_text) == 0 then
        -- Units sit at consecutive microseconds of their own, so that a refund finds exactly them.
        local last = call('ZRANGE', key, '-1', '-1')[1]
        if last and last + 1 > stamp then stamp = last + 1 end
        local units = {}
        for j = 0, cost - 1 do
          local unit = format('%.0f', stamp + j)
          units[j * 2 + 1], units[j * 2 + 2] = unit, unit
        end
        call('ZADD', key, unpack(units))
      end
      if not first or stamp < first then first = stamp end
    else
      stamp = floor(now / width)
      -- A server whose clock was set back goes on in the newest bucket: back later, never more.
      local last = newest[i]
      if last and last + 0 >= stamp then
        stamp = last + 0
      else
        last = format('%.0f', stamp)
      end
      call('ZADD', key, format('%.0f', (totals[i] or 0) + cost), last)
      first = first or (stamp + 1) * width
    end
    if count == 0 then call('PEXPIRE', key, format('%.0f', windows[i] / 500)) end
    count = count + cost
  end
  local left = amounts[i] - count
  answer[place + 1] = left > 0 and left or 0
  answer[place + 2] = first and first + (windows[i] - now) or 0
  answer[place + 3] = stamp
  place = place + 3
end
return pack_struct('<' .. string.rep('d', place), unpack(answer))
