<?php

$app = require __DIR__.'/bootstrap.php';
$kernel = $app->make(Illuminate\Contracts\Http\Kernel::class);
$app->booted(function () use ($app) {
    $app['events']->listen('Clarim\Laravel\Events\*', function (string $name, array $data) {
        $line = json_encode([class_basename($name) => $data[0]]);
        file_put_contents(__DIR__.'/heard.jsonl', $line."\n", FILE_APPEND | LOCK_EX);
    });
});
$kernel->handle(Illuminate\Http\Request::capture())->send();
