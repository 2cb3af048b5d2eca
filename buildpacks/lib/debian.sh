# Debian packages as a layer: resolved and fetched by apt, which checks its archive's signatures, unpacked without root
# and without what a package manager would run. Sourced by buildpacks that set `layers`; common.sh comes before it.
#
# A layer is made again only when what is asked for changes. It holds the packages and all they depend on that the image
# beneath does not have, in the layout of a root directory with /bin and /lib inside /usr. Nothing here is installed: no
# scripts of packages run, so whoever asks makes the links and files that they would have made.

# The packages of the image beneath; a build image that has more keeps their list aside.
debian_status=/var/lib/dpkg/status-base
[[ -f $debian_status ]] || debian_status=/var/lib/dpkg/status
debian_at=/tmp/hythe-debian
# What bin/prepare left in the build image: layers, made in the places that they have in a sandbox.
debian_prepared=/opt/hythe$layers
debian_triplet=$(uname -m)-linux-gnu

# Makes or keeps the layer, or takes the prepared one. Afterwards `debian_fresh` is yes if it was made, and its maker has
# to finish it. Words after `--` are packages that are not wanted although something depends on them.
debian_layer() { # layer, types, package … [-- package …]
  local name=$1 types=$2 at=$layers/$1
  shift 2
  local key="$CNB_BUILDPACK_DIR $*"
  debian_fresh=no
  if [[ ! -d $at/usr || $(layer_value "$name" key) != "$key" ]]; then
    rm -rf "$at" "$at.toml"
    if [[ $(layers=$debian_prepared layer_value "$name" key) == "$key" ]]; then
      debian_take "$name" "$types"
    else
      debian_fresh=yes
      debian_fetch "$@"
      debian_unpack "$at"
      debian_environment "$at"
    fi
  fi
  layer "$name" "$types" "key = \"$key\""
}

# What an image is to hold has to be copied; for a build, links will do.
debian_take() { # layer, types
  local entry
  mkdir -p "$layers/$1"
  for entry in "$debian_prepared/$1"/*; do
    if [[ $2 == *launch* ]]; then cp -a --no-preserve=ownership "$entry" "$layers/$1/"; else ln -s "$entry" "$layers/$1/"; fi
  done
}

# For bin/prepare, which runs once, as root, when the build image is made: keeps there what these functions make as layers.
debian_prepare() { # function …
  export HYTHE_FAILURE=/tmp/failure
  debian_preparing=yes
  local make
  trap '[[ ! -f $HYTHE_FAILURE ]] || cat "$HYTHE_FAILURE"' EXIT
  for make; do "$make"; done
  # What offers of packages were answered is there already.
  mv "$layers"/* "$debian_prepared/"
  chmod -R a+rX "$debian_prepared"
}

# Packages that apt knows by this regular expression, with their upstream versions, a line each: 3.1.2 also of
# 3.1.7+really3.1.2-0, as Debian names a version that it went back to.
debian_offers() { # pattern
  local name at=$debian_prepared/offers/${1//[^a-z0-9]/_}
  if [[ ! -f $at ]]; then
    debian_update >&2
    [[ -n $debian_preparing ]] || at=/tmp/hythe-offers
    mkdir -p "${at%/*}"
    while read -r name; do
      printf '%s %s\n' "$name" "$(debian_apt_cache show --no-all-versions "$name" | sed -n 's/^Version: \([0-9]*:\)\?\(.*+really\)\?\([^-+~]*\).*/\3/p')"
    done < <(debian_apt_cache search --names-only "^$1\$" | cut -d' ' -f1 | sort -V) >"$at"
  fi
  cat "$at"
}

# --- how ------------------------------------------------------------------------------------------------------------

debian_preparing=''
debian_options=(-q -o Acquire::Retries=2 -o Dir::State="$debian_at/state" -o Dir::State::status="$debian_at/status"
  -o Dir::Cache="$debian_at/cache" -o Dir::Log="$debian_at/log" -o APT::Install-Recommends=false -o Debug::NoLocking=true
  -o APT::Sandbox::User=root)

debian_apt_cache() { apt-cache "${debian_options[@]}" "$@" 2>/dev/null; }

debian_update() {
  [[ ! -f $debian_at/updated ]] || return 0
  mkdir -p "$debian_at"/{state/lists/partial,cache/archives/partial,log}
  cp "$debian_status" "$debian_at/status"
  printf -- '-----> Reading the list of Debian packages\n'
  # A mirror that does not answer is an error, not a warning about an old list.
  apt-get "${debian_options[@]}" -o APT::Update::Error-Mode=any update >"$debian_at/output" 2>&1 ||
    fail_with "$debian_at/output" debian_failed "what=the list of packages"
  work_done
  : >"$debian_at/updated"
}

debian_fetch() { # package … [-- package …]
  local wanted=() unwanted=() to=wanted word
  for word in "$@"; do
    if [[ $word == -- ]]; then to=unwanted; elif [[ $to == wanted ]]; then wanted+=("$word"); else unwanted+=("$word"); fi
  done
  debian_update
  cp "$debian_status" "$debian_at/status"
  # To apt, what is not wanted is there already, in a version that meets everything.
  for word in "${unwanted[@]}"; do
    printf '\nPackage: %s\nStatus: install ok installed\nArchitecture: %s\nMulti-Arch: allowed\nMaintainer: none\nVersion: 99:99\nDescription: left out\n' \
      "$word" "$(dpkg --print-architecture)" >>"$debian_at/status"
  done
  rm -f "$debian_at"/cache/archives/*.deb
  printf -- '-----> Fetching %s (Debian)\n' "${wanted[*]}"
  apt-get "${debian_options[@]}" -y --download-only install -- "${wanted[@]}" >"$debian_at/output" 2>&1 ||
    fail_with "$debian_at/output" debian_failed "what=${wanted[*]}"
}

debian_unpack() { # directory
  local at=$1 deb link target
  mkdir -p "$at"/usr/{bin,sbin,lib} "$at/var/lib/dpkg/status.d"
  for link in bin sbin lib; do ln -s "usr/$link" "$at/$link"; done
  for deb in "$debian_at"/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" |
      tar -x --keep-directory-symlink --no-same-owner --no-same-permissions -m -C "$at" -f - \
        --exclude='./usr/share/doc/*/[!c]*' --exclude='./usr/share/man/*' --exclude='./usr/share/info/*' \
        --exclude='./usr/share/locale/*' --exclude='./usr/share/lintian/*' --exclude='./usr/share/bug/*'
    # By which the image tells what is in it.
    dpkg-deb -f "$deb" Package Source Version Architecture >"$at/var/lib/dpkg/status.d/$(basename "${deb%%_*}")"
  done
  rm -f "$debian_at"/cache/archives/*.deb
  # Programs of the layer must not lead the search to directories that every image has.
  rm "$at"/{bin,sbin,lib}
  # Links from the root of the file system lead into the layer.
  while IFS= read -r -d '' link; do
    target=$(readlink "$link")
    [[ ! -e $at$target && ! -L $at$target ]] || ln -sfn "$at$target" "$link"
  done < <(find "$at" -type l -lname '/*' -print0)
  # Files of packages may be closed to others, and everything here is one user's.
  chmod -R u+rwX "$at"
  work_done
}

# For everything that runs after it, in the build and at launch.
debian_environment() { # layer's directory
  local at=$1
  mkdir -p "$at/env"
  printf '%s/usr/bin' "$at" >"$at/env/PATH.prepend"
  printf '%s/usr/lib/%s:%s/usr/lib' "$at" "$debian_triplet" "$at" >"$at/env/LD_LIBRARY_PATH.prepend"
  printf : | tee "$at/env/PATH.delim" >"$at/env/LD_LIBRARY_PATH.delim"
}

# For the rest of this build of this buildpack.
debian_use() { # layer
  local at=$layers/$1
  export PATH=$at/usr/bin:$PATH LD_LIBRARY_PATH=$at/usr/lib/$debian_triplet:$at/usr/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}
