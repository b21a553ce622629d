# What the checks of this repository need of a machine. To be sourced.

# Whether there is Node, and new enough for what package.json files ask for.
has_node() {
  node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' 2> /dev/null
}

# A virtual environment of Python with what a file of requirements names, made anew where that has changed.
venv() { # FOLDER REQUIREMENTS
  cmp -s "$2" "$1/requirements.txt" ||
    { python3 -m venv "$1" && "$1/bin/pip" install -q --disable-pip-version-check -r "$2" && cp "$2" "$1/requirements.txt"; }
}

# Installs Debian's packages; none that takes the place of another.
debian() { # PACKAGE...
  local as_root=""
  [ "$(id -u)" = 0 ] || as_root=sudo
  { $as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-remove --no-install-recommends "$@"; } > /dev/null
}
