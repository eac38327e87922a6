// The same without a framework. It takes a socket that is there already, so that no request is refused on a reload.
const http = require("http");

const server = http.createServer((request, response) => response.end("hello\n"));
server.listen(process.env.LISTEN_FDS ? { fd: 3 } : { port: process.env.PORT || 3000 });
process.on("SIGTERM", () => server.close());
