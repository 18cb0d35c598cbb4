from batch.cli.commands import main

main()
