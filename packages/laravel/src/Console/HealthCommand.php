<?php

namespace Clarim\Laravel\Console;

use Clarim\Laravel\Health;
use Illuminate\Console\Command;
use RuntimeException;

/** For a monitor or a deployment script: fails unless the server responds. */
class HealthCommand extends Command
{
    protected $signature = 'clarim:health';

    protected $description = 'Check that the Clarim server responds';

    public function handle(Health $health): int
    {
        try {
            $health->check();
        } catch (RuntimeException $error) {
            $this->error($error->getMessage());

            return self::FAILURE;
        }
        $this->line("Clarim responds at {$health->url()}.");

        return self::SUCCESS;
    }
}
