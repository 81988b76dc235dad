#!/bin/sh
# The ssh of the sandbox's servers: the real one, with the sandbox's configuration and way out.
#
# ssh obeys the last -F it is given, so a caller's is taken away. Of every other option it obeys the
# first, so nobody gets past the ProxyCommand, and everything else is the caller's to choose.
left=$#
words=0
while [ "$left" -gt 0 ]; do
    word=$1
    shift
    left=$((left - 1))
    case $word in
    --) words=2 ;;
    -?*) ;;
    *) words=$((words + 1)) ;;
    esac
    # Behind the host ssh still takes options; behind the first word of the command it doesn't.
    if [ "$words" -ge 2 ]; then
        set -- "$@" "$word"
        while [ "$left" -gt 0 ]; do
            set -- "$@" "$1"
            shift
            left=$((left - 1))
        done
        break
    fi
    case $word in
    -?*) letters=${word#-} ;;
    *) set -- "$@" "$word"; continue ;;
    esac
    kept=-
    while [ -n "$letters" ]; do
        rest=${letters#?}
        letter=${letters%"$rest"}
        case $letter in
        [BbcDEeFIiJLlmOoPpQRSWw])
            value=$rest
            if [ -z "$rest" ] && [ "$left" -gt 0 ]; then
                value=$1
                shift
                left=$((left - 1))
            fi
            if [ "$letter" != F ]; then
                set -- "$@" "$kept$letter" "$value"
                kept=-
            fi
            rest=
            ;;
        *) kept=$kept$letter ;;
        esac
        letters=$rest
    done
    [ "$kept" = - ] || set -- "$@" "$kept"
done
exec @ssh@ -F @config@ -o @proxy@ "$@"
