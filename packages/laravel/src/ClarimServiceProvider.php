<?php

namespace Clarim\Laravel;

use Illuminate\Support\Facades\Route;
use Illuminate\Support\ServiceProvider;

/** Adds the commands, the route for webhooks and the health check to an application. */
class ClarimServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        $this->mergeConfigFrom(__DIR__.'/../config/clarim.php', 'clarim');
        $this->app->singleton(Program::class, fn ($app) => new Program(
            $app['config']['clarim.program'],
            $app->storagePath().'/clarim',
            $app['config']['clarim.releases'],
        ));
        $this->app->singleton(Health::class, fn ($app) => new Health(
            $app['config']['broadcasting.connections.reverb.options'] ?? [],
        ));
        $this->app->singleton(Secrets::class, fn ($app) => new Secrets($app['config']));
    }

    public function boot(): void
    {
        $this->publishes([__DIR__.'/../config/clarim.php' => $this->app->configPath('clarim.php')], 'clarim');
        $this->commands([Console\InstallCommand::class, Console\StartCommand::class, Console\HealthCommand::class]);
        $path = $this->app['config']['clarim.webhooks'];
        if ($path !== null && ! $this->app->routesAreCached()) {
            // Without the middleware `web`: a webhook has a signature instead of a session.
            Route::post($path, WebhookController::class)->name('clarim.webhooks');
        }
        if ($this->app['config']['clarim.health']) {
            $this->app['events']->listen(
                'Illuminate\Foundation\Events\DiagnosingHealth',
                fn () => $this->app->make(Health::class)->check(),
            );
        }
    }
}
