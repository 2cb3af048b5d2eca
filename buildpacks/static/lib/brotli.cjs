// Writes a .br beside each file that it is given and that has none.
const fs = require('fs');
const zlib = require('zlib');

for (const file of zlib.brotliCompressSync ? process.argv.slice(2) : []) {
  if (fs.existsSync(`${file}.br`)) continue;
  const content = fs.readFileSync(file);
  const quality = content.length > 1 << 20 ? 9 : 11;
  fs.writeFileSync(`${file}.br`, zlib.brotliCompressSync(content, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: quality } }));
}
