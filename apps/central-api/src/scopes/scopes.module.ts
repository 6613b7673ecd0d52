import { Module } from '@nestjs/common';
import { PlanModule } from '../plan/plan.module.js';
import { ScopeGroupResolver } from './scope-group-resolver.js';

@Module({ imports: [PlanModule], providers: [ScopeGroupResolver], exports: [ScopeGroupResolver] })
export class ScopesModule {}
