# Which files of a site are worth compressing, and that they are.

compressible() { # root
  find "$1" -type f -size +1023c -not -path '*/.*' -not -path '*/node_modules/*' -regextype posix-extended \
    -regex '.*\.(html?|css|m?js|json|map|xml|svg|txt|md|csv|webmanifest|wasm|ico|ttf|otf|eot)'
}

# Beside each such file one with .gz, and one with .br where there is a tool for it, unless it is there already.
# Sets `compressed` to their number.
compress() { # root
  compressible "$1" | LC_ALL=C sort | tr '\n' '\0' >/tmp/compressible
  xargs -0r -P 2 -n 8 "$BASH" -c 'for file; do [[ -e $file.gz ]] || gzip -9 -n -c -- "$file" >"$file.gz"; done' - </tmp/compressible
  # The strongest of Brotli takes a second for each megabyte.
  if command -v brotli >/dev/null; then
    xargs -0r -P 2 -n 8 "$BASH" -c 'for file; do
      [[ -e $file.br ]] || brotli -q $(($(stat -c %s "$file") > 1 << 20 ? 9 : 11)) -c -- "$file" >"$file.br"
    done' - </tmp/compressible
  elif command -v node >/dev/null; then
    xargs -0r node "$CNB_BUILDPACK_DIR/lib/brotli.cjs" </tmp/compressible
  fi
  compressed=$(tr '\0' '\n' </tmp/compressible | wc -l)
}
