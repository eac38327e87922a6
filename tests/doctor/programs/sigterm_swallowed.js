// Ends its tracing at SIGTERM, and nothing else.
const { NodeSDK } = require("@opentelemetry/sdk-node");
const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http");

const sdk = new NodeSDK({ instrumentations: [new HttpInstrumentation()] });
sdk.start();
process.on("SIGTERM", () => sdk.shutdown());

const http = require("node:http");
http.createServer((request, response) => response.end("hello")).listen(process.env.PORT, "127.0.0.1");
