<?php

return ['default' => 'stderr', 'channels' => [
    'stderr' => ['driver' => 'single', 'path' => 'php://stderr'],
    'deprecations' => ['driver' => 'monolog', 'handler' => Monolog\Handler\NullHandler::class],
    'null' => ['driver' => 'monolog', 'handler' => Monolog\Handler\NullHandler::class],
]];
