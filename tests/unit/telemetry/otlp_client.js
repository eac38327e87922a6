// A program with the official Node SDK, for otlp_clients.py; where it sends to is in its environment.
//
//   otlp_client.js http|proto spans N PROCESSORS | metrics | logs
//
// Spans: all processors have one exporter. Prints "TRACE SPAN" of each span.
"use strict";
const [form, what, ...numbers] = process.argv.slice(2);
const exporters = (signal) => require("@opentelemetry/exporter-" + signal + "-otlp-" + form);

async function spans(count, processors) {
  const { NodeTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-node");
  const exporter = new (exporters("trace").OTLPTraceExporter)();
  const all = Array.from({ length: processors }, () => new BatchSpanProcessor(exporter));
  const provider = new NodeTracerProvider({ spanProcessors: all });
  const tracer = provider.getTracer("client", "1.0");
  for (let n = 0; n < count; ++n) {
    const span = tracer.startSpan("span é " + n, { attributes: { n, list: ["a", "b"] } });
    span.addEvent("event", { half: 0.5 });
    span.end();
    console.log(span.spanContext().traceId, span.spanContext().spanId);
  }
  await provider.forceFlush();
  await provider.shutdown();
}

async function metrics() {
  const { MeterProvider, PeriodicExportingMetricReader } = require("@opentelemetry/sdk-metrics");
  const exporter = new (exporters("metrics").OTLPMetricExporter)();
  const provider = new MeterProvider({ readers: [new PeriodicExportingMetricReader({ exporter })] });
  const meter = provider.getMeter("client");
  meter.createCounter("requests").add(3, { route: "/" });
  meter.createHistogram("seconds").record(0.25);
  await provider.shutdown();
}

async function logs() {
  const { LoggerProvider, BatchLogRecordProcessor } = require("@opentelemetry/sdk-logs");
  const exporter = new (exporters("logs").OTLPLogExporter)();
  const provider = new LoggerProvider({ processors: [new BatchLogRecordProcessor({ exporter })] });
  provider.getLogger("client").emit({ severityNumber: 17, body: "it went wrong: really" });
  await provider.shutdown();
}

({ spans, metrics, logs })[what](...numbers.map(Number)).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
