# What buildpacks written in bash have in common. Sourced by those that set `layers`.

layer() { # name, types by name, metadata
  local type types=''
  for type in $2; do types+="$type = true"$'\n'; done
  printf '[types]\n%s\n[metadata]\n%s\n' "$types" "${3-}" >"$layers/$1.toml"
}

# A text of a layer's metadata.
layer_value() { # layer, key
  [[ ! -f $layers/$1.toml ]] || sed -n "s/^$2 = \"\(.*\)\"\$/\1/p" "$layers/$1.toml"
}

# One hash of all that comes in.
hash_of() {
  local sum
  sum=$(sha256sum)
  printf '%s' "${sum%% *}"
}

# A file that sets a variable; written once, since a layer that nobody touches is not exported again.
set_variable() { # layer's directory, env or env.launch, file name, value
  [[ ! -f $1/$2/$3 || $(<"$1/$2/$3") != "$4" ]] || return 0
  mkdir -p "$1/$2"
  printf '%s' "$4" >"$1/$2/$3"
}

# The heading of a runtime: which version, where it is from, and what asked for it.
runtime() { # name, version, source, what asked
  printf -- '-----> %s %s from %s (%s)\n' "$@"
}

web_process() { # word …
  local words='' word
  for word in "$@"; do word=${word//\\/\\\\} words+="\"${word//\"/\\\"}\", "; done
  printf '[[processes]]\ntype = "web"\ncommand = [%s]\ndefault = true\n' "${words%, }" >"$layers/launch.toml"
}

# Paths of the tree that share no layer of the image with the rest, since they change with something else than the code;
# patterns as in launch.toml. What is not there makes no layer. After `web_process`, each path in the first that takes it.
slice() { # pattern …
  local words='' word
  for word; do word=${word//\\/\\\\} words+="\"${word//\"/\\\"}\", "; done
  printf '\n[[slices]]\npaths = [%s]\n' "${words%, }" >>"$layers/launch.toml"
}

# Ends a heading whose work printed nothing: the time it took is shown behind it.
work_done() { printf '\037\n'; }

# The platform puts the words to a failure: a code, and what it is about. The first one counts: it may come out of a
# subshell, whose caller fails for want of what it should have said.
fail() { # code, key=value …
  fail_with /dev/null "$@"
}

# The same with the last lines of a file as evidence.
fail_with() { # file, code, key=value …
  local evidence=$1
  shift
  [[ ! -s $HYTHE_FAILURE ]] || exit 1
  printf '%s\n' "${@//$'\n'/ }" >"$HYTHE_FAILURE"
  sed '/^[[:space:]]*$/d; s/^/| /' "$evidence" | tail -n 15 >>"$HYTHE_FAILURE"
  exit 1
}
