function done(summary, latency, requests)
  io.write(string.format("P99 %.3f\n", latency:percentile(99) / 1000))
  io.write(string.format("BAD %d\n", summary.errors.status + summary.errors.read + summary.errors.timeout))
end
