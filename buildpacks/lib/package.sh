# What detection tells by a package.json, without a runtime that could parse it. Sourced by bin/detect of several.

# The names of the scripts, one a line; nothing where the file is not well-formed.
package_scripts() {
  [[ -f package.json ]] || return 0
  perl -0777 -ne 'if (/"scripts"\s*:\s*\{((?:[^{}"]|"(?:[^"\\]|\\.)*")*)\}/s) {
    my $in = $1;
    print "$1\n" while $in =~ /"((?:[^"\\]|\\.)*)"\s*:\s*"(?:[^"\\]|\\.)*"/gs;
  }' package.json
}

# Whether the tree's Node.js makes files at build and nothing that runs: a script `build`, and nothing that starts.
builds_assets() {
  local scripts
  # Most have no such word, and need no parser for that.
  [[ -f package.json && $(<package.json) == *'"build"'* ]] || return 1
  scripts=$'\n'$(package_scripts)$'\n'
  [[ $scripts == *$'\nbuild\n'* && $scripts != *$'\nstart\n'* && ! -f server.js ]] || return 1
  [[ ! -f Procfile ]] || ! grep -qE '^web[[:space:]]*:(.*[^[:alnum:]_./-])?(node|npm|npx|yarn|pnpm|bun|tsx)([^[:alnum:]_.-]|$)' Procfile
}

# Compilers, when a dependency runs scripts at its installation.
native_modules() { # plan
  local lock native=no
  if [[ -e binding.gyp ]]; then
    native=yes
  else
    for lock in npm-shrinkwrap.json package-lock.json; do
      [[ -f $lock ]] || continue
      ! grep -q '"hasInstallScript": *true' "$lock" || native=yes
      break
    done
  fi
  [[ $native == no ]] || printf '\n[[provides]]\nname = "native-modules"\n\n[[requires]]\nname = "native-modules"\n' >>"$1"
}
