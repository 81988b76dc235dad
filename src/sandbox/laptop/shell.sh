#!/bin/sh
# The login shell of every instance. It passes over /etc/profile: that is this machine's, and would put other
# programs before the instance's own.
if [ "${1:-}" = -l ]; then
    shift
    [ ! -r "$HOME/.profile" ] || . "$HOME/.profile"
fi
exec @shell@ "$@"
