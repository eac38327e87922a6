// Nothing about telemetry in here: that is the register of the auto-instrumentations, or runmain's with --auto.
const express = require("express");

const app = express();
app.get("/", (request, response) => response.send("hello\n"));
app.listen(process.env.PORT || 3000);
