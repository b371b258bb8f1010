<?php

namespace Clarim\Laravel\Console;

use Clarim\Laravel\Program;
use Illuminate\Console\Command;
use RuntimeException;
use Symfony\Component\Process\Process;

/** Downloads the program where it is missing, and fills the app's variables in `.env`. */
class InstallCommand extends Command
{
    protected $signature = 'clarim:install
        {--release= : Version to download, instead of the latest}
        {--force : Download the program even if there is one}';

    protected $description = 'Install Clarim: the program, and the variables in .env';

    public function handle(Program $program): int
    {
        try {
            $path = $this->option('force') || $this->option('release') ? null : $program->find();
            $path ??= $program->download($this->option('release'));
        } catch (RuntimeException $error) {
            $this->error($error->getMessage());

            return self::FAILURE;
        }
        $this->line("program: {$path}");
        $install = new Process([$path, 'install'], $this->laravel->basePath(), null, null, 60);

        return $install->run(fn ($type, $output) => $this->output->write($output));
    }
}
