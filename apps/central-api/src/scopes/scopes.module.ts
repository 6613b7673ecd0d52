import { type DynamicModule, Global, Module } from '@nestjs/common';
import { ScopeGroupResolver } from './scope-group-resolver.js';
import { SCOPE_OPTIONS, type ScopeOptions } from './scope-options.js';

@Global()
@Module({ providers: [ScopeGroupResolver], exports: [ScopeGroupResolver] })
export class ScopesModule {
  static forRoot(options: ScopeOptions): DynamicModule {
    return { module: ScopesModule, providers: [{ provide: SCOPE_OPTIONS, useValue: options }] };
  }
}
