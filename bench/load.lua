-- Send the requests of a file in turn; count the answers that are not 200 or lack a text, and report as JSON.
-- The file: the text, then for each request a line with its length and its bytes.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  expected = file:read("*l")
  requests = {}
  wrong = 0
  seen = ""
  number = tonumber(arguments[2])
  for length in function() return file:read("*n") end do
    file:read("*l")
    table.insert(requests, file:read(length))
  end
  file:close()
end

function request()
  number = number + 1
  return requests[number % #requests + 1]
end

function response(status, _, body)
  if status ~= 200 or not string.find(body, expected, 1, true) then
    wrong = wrong + 1
    seen = status .. " " .. string.sub(body, 1, 200)
  end
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout
  local example = ""
  for _, thread in ipairs(threads) do
    failed = failed + thread:get("wrong")
    example = thread:get("seen")
  end
  example = string.gsub(example, '[%c"\\]', " ")
  print(string.format(
    '{"requests": %d, "seconds": %.6f, "errors": %d, "median_ms": %.6f, "p99_ms": %.6f, "example": "%s"}',
    summary.requests, summary.duration / 1e6, failed,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, example
  ))
end
