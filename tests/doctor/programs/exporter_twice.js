// One exporter in the batching processor and in the one that sends at once.
const { BatchSpanProcessor, SimpleSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-proto");

const exporter = new OTLPTraceExporter();
require("./tracing").setUp({ spanProcessors: [new BatchSpanProcessor(exporter), new SimpleSpanProcessor(exporter)] });
const express = require("express");

const app = express();
app.get("/", (request, response) => response.send("hello"));
require("./tracing").endWith(app.listen(process.env.PORT, "127.0.0.1"));
