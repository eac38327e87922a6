// Ends at SIGTERM at once.
const { NodeSDK } = require("@opentelemetry/sdk-node");
const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http");

new NodeSDK({ instrumentations: [new HttpInstrumentation()] }).start();
process.on("SIGTERM", () => process.exit(0));

const http = require("node:http");
http.createServer((request, response) => response.end("hello")).listen(process.env.PORT, "127.0.0.1");
