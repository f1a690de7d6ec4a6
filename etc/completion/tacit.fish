# Completion of tacit for fish. The program itself says what may come next.
function __tacit_words
    set -l words (commandline -opc) (commandline -ct)
    $words[1] complete -- $words[2..-1] 2> /dev/null
end
complete -c tacit -a '(__tacit_words)'
