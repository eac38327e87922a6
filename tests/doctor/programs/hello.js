// Knows nothing of tracing.
const express = require("express");

const app = express();
app.get("/", (request, response) => response.send("hello"));
const server = app.listen(process.env.PORT, "127.0.0.1");
process.on("SIGTERM", () => server.close());
