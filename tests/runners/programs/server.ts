import express from "express";
import { trace } from "@opentelemetry/api";

const word: string = "save 0";
trace.getTracer("app").startSpan("start-up").end();
const app = express();
app.get("/", (request: any, response: any) => response.type("text").send(`${word} ${process.pid}`));
app.listen(@PORT@, "127.0.0.1");
