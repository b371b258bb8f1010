<?php

namespace Clarim\Laravel\Console;

use Clarim\Laravel\Program;
use Illuminate\Console\Command;
use RuntimeException;
use Symfony\Component\Process\Process;

/** Becomes the server, so that signals of a supervisor reach it. */
class StartCommand extends Command
{
    protected $signature = 'clarim:start
        {--host= : Address to listen on}
        {--port= : Port to listen on}
        {--debug : Print connections and messages}';

    protected $description = 'Start the Clarim server';

    public function handle(Program $program): int
    {
        try {
            $path = $program->find() ?? $program->download();
        } catch (RuntimeException $error) {
            $this->error($error->getMessage());

            return self::FAILURE;
        }
        $arguments = ['start'];
        foreach (['host', 'port'] as $name) {
            if ($this->option($name) !== null) {
                array_push($arguments, "--{$name}", $this->option($name));
            }
        }
        if ($this->option('debug')) {
            $arguments[] = '--debug';
        }
        chdir($this->laravel->basePath());
        if (function_exists('pcntl_exec')) {
            pcntl_exec($path, $arguments, $this->environment());
            $this->error("Cannot start {$path}.");

            return self::FAILURE;
        }
        $server = new Process([$path, ...$arguments], null, null, null, null);

        return $server->run(fn ($type, $output) => $this->output->write($output));
    }

    /**
     * The variables with which PHP was started. Laravel has added those of `.env`, which the server reads itself:
     * as its environment they would hide later changes of that file from `clarim restart`.
     */
    private function environment(): array
    {
        $text = @file_get_contents('/proc/self/environ');
        if ($text === false) {
            return getenv();
        }
        $variables = [];
        foreach (explode("\0", rtrim($text, "\0")) as $variable) {
            [$name, $value] = explode('=', $variable, 2) + [1 => ''];
            $variables[$name] = $value;
        }

        return $variables;
    }
}
