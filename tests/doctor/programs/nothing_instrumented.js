// Registers a provider, and instruments nothing.
const { BatchSpanProcessor, NodeTracerProvider } = require("@opentelemetry/sdk-trace-node");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-proto");
const express = require("express");

const provider = new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())] });
provider.register();
const app = express();
app.get("/", (request, response) => response.send("hello"));
app.listen(process.env.PORT, "127.0.0.1");
process.on("SIGTERM", () => provider.shutdown().finally(() => process.exit(0)));
