-- wrk: each request creates another channel; WINDOW makes keynames unique over the whole run.
local window = os.getenv("WINDOW") or "00"
local thread_count = 0

function setup(thread)
  thread:set("number", thread_count)
  thread_count = thread_count + 1
end

local count = 0

function request()
  count = count + 1
  local keyname = string.format("%s%d-%06d", window, number, count)
  local body = '{"keyname":"' .. keyname .. '","name":"Bench","type":"radio","url":"http://93.184.216.34:8000/a"}'
  return wrk.format("POST", "/channel", { ["Content-Type"] = "application/json" }, body)
end

function done(summary, latency, requests)
  io.write(string.format("P99 %.3f\n", latency:percentile(99) / 1000))
  io.write(string.format("BAD %d\n", summary.errors.status + summary.errors.read + summary.errors.timeout))
end
