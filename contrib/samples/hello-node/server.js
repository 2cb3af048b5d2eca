const http = require('node:http');
const colors = require('picocolors');

const greeting = 'Hello from Hythe, by Node.js';
const port = Number(process.env.PORT);

const server = http.createServer((request, response) => {
  console.log(`${colors.bold(request.method)} ${request.url}`);
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.end(`${greeting}\n`);
});

server.listen(port, () => console.log(`listening on ${port}`));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
