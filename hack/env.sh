# Sourced at the top of a checkout by what builds there or asks git. The checkout may be
# somebody else's, as a folder that a container is given is: git then refuses to look at
# it, and so does the Go command, which writes the commit into programs.
GOFLAGS="$(go env GOFLAGS) -buildvcs=false"
export GOFLAGS GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0="$PWD"
